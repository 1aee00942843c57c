"""Source models and their embeddings (section 3.1). The package itself imports no torch; its modules do."""
