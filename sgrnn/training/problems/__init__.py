"""What a run learns: a text, or a task's episodes."""
