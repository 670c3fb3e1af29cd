"""Activities by the labels that ActionSense gives them."""

from data_modules.kitchen.command.activities import fetching, jar, pouring, slicing, wiping
from data_modules.kitchen.command.activities.base import Activity

ACTIVITIES: dict[str, Activity] = {
    a.label: a
    for a in (
        wiping.PLATE,
        wiping.PAN,
        slicing.CUCUMBER,
        slicing.BREAD,
        jar.JAR,
        pouring.POUR,
        fetching.FETCH,
    )
}
"""Every activity by its label."""

__all__ = ["ACTIVITIES", "Activity"]
