"""What the lexical systems do with every letter and every posting, compiled by numba. Each has a plain twin in Python.

Nothing here is imported where numba is not installed, or where the work is too small to be worth its import.
"""
