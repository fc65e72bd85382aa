"""Who is enrolled: SQLite is the truth, FAISS is derived."""
