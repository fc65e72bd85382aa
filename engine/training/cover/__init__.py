"""Train the network for covered mouths on genuine clips with drawn covers."""
