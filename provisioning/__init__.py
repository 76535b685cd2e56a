"""What an application needs on a cluster, from a declarative file: models, pipelines and indices."""
