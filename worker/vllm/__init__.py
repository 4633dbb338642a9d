"""The engine on vLLM, which brings its own environment. Knows nothing of jobs, Redis or HTTP."""
