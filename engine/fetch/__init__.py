"""Fetch media from a URL: check the URL, download in a confined process through a filtering proxy."""
