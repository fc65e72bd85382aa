"""Tabs of the page: layout and event wiring; HTML comes from `webapp.views`."""
