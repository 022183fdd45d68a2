"""What people do around the appliance: kits, machines, tools of the operating system."""
