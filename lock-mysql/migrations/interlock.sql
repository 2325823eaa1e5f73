-- The table of Interlock: one row for each namespace, with all its locks as readable JSON.
-- Run it once, with the rights to create a table. Programs that use locks then need
-- SELECT, INSERT and UPDATE on this table, and nothing else.
CREATE TABLE IF NOT EXISTS interlock (
    id VARBINARY(255) NOT NULL PRIMARY KEY COMMENT 'namespace, compared byte for byte',
    version BIGINT UNSIGNED NOT NULL COMMENT 'grows with every change',
    data LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'who holds and waits'
) ENGINE = InnoDB COMMENT = 'locks of Interlock';
