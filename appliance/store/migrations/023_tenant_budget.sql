
-- What a tenant may submit, where that is not what rekor.budget allows everybody.

-- in any 60 minutes; NULL: as rekor.budget.hourlyLimit
ALTER TABLE tenant ADD COLUMN hourly_limit INTEGER CHECK (hourly_limit >= 0);
-- the pace of a burst, by the hour; NULL: as rekor.budget.burstLimit
ALTER TABLE tenant ADD COLUMN burst_limit INTEGER CHECK (burst_limit >= 0);
-- edge bundles in any 24 hours; NULL: as rekor.budget.edgeBundleDailyLimit
ALTER TABLE tenant ADD COLUMN daily_edge_limit INTEGER CHECK (daily_edge_limit >= 0);
