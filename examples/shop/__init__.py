"""A shop of three services that talk through events: billing, warehouse and order desk."""
