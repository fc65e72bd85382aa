"""Everything that can be done, for programs: `/api/v1`, and the files of the jobs for the page."""
