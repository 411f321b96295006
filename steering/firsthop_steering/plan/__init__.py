"""The operators' configuration: models, the document of all objects, and rules between objects."""
