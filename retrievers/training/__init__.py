"""How a late-interaction model is trained: pairs, negatives, a teacher, and a loop that can be stopped anywhere."""
