"""The search for hyperparameters: a function of the cell, the seed, the number and the results of earlier generations.

Nothing is kept but the results themselves, so a search that was killed goes on exactly as it would have.
"""
