"""The pages' side of the API server: who may see them, what they show, and how long they wait for it."""
