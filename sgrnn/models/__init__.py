"""Models whose output layer belongs to the loss, the exact score of a text, and the generation of text."""
