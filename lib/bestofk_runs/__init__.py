"""What makes language-model data for the book: tasks, engines, judges, shards, publishing."""
