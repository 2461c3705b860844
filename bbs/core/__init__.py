"""What every package needs: errors, values, addresses, clocks, threads, batching, tracing."""
