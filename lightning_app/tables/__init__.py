"""The multisensory paper's tables: `configs/tables` says what, `configs/published/tables` has them."""
