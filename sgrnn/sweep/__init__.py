"""A search over recipe fields: its space, its trials, its pictures."""
