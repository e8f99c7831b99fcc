"""A finished build in the terms of other people's tools, one module a tool."""
