"""The cluster's side: connection, capabilities, mappings, kept query weights, and the local node."""
