-- Instances whose files were damaged on the disk: whoever has them is asked for them again.
create table wanted_again (
    sop_instance_uid text    primary key references instance,
    since            integer not null
) strict;
