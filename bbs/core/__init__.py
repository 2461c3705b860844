"""What every room stands on: errors, values, addresses, clocks, threads, batching, tracing."""
