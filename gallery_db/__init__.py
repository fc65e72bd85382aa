"""Enrolled speakers: the database is authoritative, the FAISS index is derived from it.

The records are in `gallery_db.records`; `from gallery_db.gallery import Gallery` opens one.
"""
