"""Linear SVMs on frozen embeddings for every pair, and Theorem 1 checked (Sec. 3.1-3.2)."""
