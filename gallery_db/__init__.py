"""Who is enrolled: the database is the truth, FAISS is derived.

The records are in `gallery_db.records`; `from gallery_db.gallery import Gallery` opens one.
"""
