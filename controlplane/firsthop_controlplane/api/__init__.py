"""The admin API: operations described once, from which routes and OpenAPI follow."""
