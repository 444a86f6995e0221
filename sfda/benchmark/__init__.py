"""The experiments: fine-tune networks on tasks, score them, and write tables."""
