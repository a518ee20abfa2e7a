"""The video API: an HTTP server, the queue of its jobs in a database, and workers that sample them. docs/server.md."""
