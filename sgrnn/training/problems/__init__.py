"""Problems, what a run learns: a text, or the episodes of a task."""
