"""What a run leaves for people to read: tables, plots, videos and a page."""
