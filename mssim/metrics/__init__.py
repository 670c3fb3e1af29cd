"""How good predicted frames are: scores per frame, gathered per window, summed up per unit."""
