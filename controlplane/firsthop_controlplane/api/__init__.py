"""The admin API: routes and the OpenAPI document are derived from one list of operations."""
