"""Who works with the app: a single local user by default; accounts with roles where the app is for more than one."""
