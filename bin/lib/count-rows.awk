# Pass a SQL dump through and write to the file `out` how many rows each table has, but only if the dump is complete.
# Both dump programs write a row a line: pg_dump between COPY and \., mysqldump with --skip-extended-insert.
# Needs awk alone.
{ print }
copying && /^\\\.$/ { copying = 0; next }
copying { rows[table]++; next }
/^COPY / { table = $2; sub(/^public\./, "", table); gsub(/"/, "", table); rows[table] += 0; copying = 1; next }
/^CREATE TABLE `/ { table = $3; gsub(/`/, "", table); rows[table] += 0; next }
/^INSERT INTO `/ { table = $3; gsub(/`/, "", table); rows[table]++; next }
/^-- PostgreSQL database dump complete/ || /^-- Dump completed/ { complete = 1 }
END {
    if (!complete) exit 1
    for (table in rows) printf "%s %d\n", table, rows[table] > out
    close(out)
}
