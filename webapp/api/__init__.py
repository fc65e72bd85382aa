"""REST API: `/api/v1`, and the files of the jobs for the page."""
