"""The kitchen: a physics twin that feels, records ActionSense, and tells the truth.

Its road, of which nothing imports backwards: `world` (bodies, contacts, what contact changes) ->
`command` (what a person wants: scripts, reaching) -> `sensing` (what a body feels and sees) ->
`recorder` (files as ActionSense is downloaded, and the truth beside them).
"""
