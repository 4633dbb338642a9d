"""What Prometheus and load balancers ask: metrics, liveness and readiness."""
