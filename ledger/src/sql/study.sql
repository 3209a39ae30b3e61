select study.*,
       (select string_agg(series.modality, ',') from series where series.study_uid = study.study_uid) as modalities,
       (select count(*) from series where series.study_uid = study.study_uid) as series_count,
       (select coalesce(cast(sum(series.instance_count) as bigint), 0) from series
        where series.study_uid = study.study_uid) as instance_count,
       (select count(*) from hold where hold.study_uid = study.study_uid and hold.released_at is null) as open_holds
from study
where study.study_uid = $1
