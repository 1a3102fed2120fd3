"""Raw pairs and answers as they travel over HTTP, WebSocket and shared memory (docs/wire.md)."""
