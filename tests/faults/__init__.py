"""Every RPC against every fault at every request that it makes."""
