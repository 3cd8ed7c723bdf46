"""A real Kubernetes in namespaces of its own: control plane, nodes, and what pods need outside."""
