"""What runs beside and inside an app: consent, recorder, outbox, publisher, routes, relay, swarm."""
