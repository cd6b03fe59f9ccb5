"""A throwaway control plane with simulated nodes, on which `bench/load` measures the operator."""
