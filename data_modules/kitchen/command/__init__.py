"""What a person wants of the body: scripts of activities, reaching, and their performance."""
