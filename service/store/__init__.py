"""The object store as the loop sees it: requests, records, holds, on the loop or in threads.

Nobody else has calls run in threads that wait for the store. This room may import process and
storage.
"""
