"""The multisensory paper's tables: what is in `configs/tables`, made and written down."""
