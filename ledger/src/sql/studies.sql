-- Newest first, by what never changes: a study that receives something while somebody turns pages stays on its page.
select study.*,
       (select string_agg(series.modality, ',') from series where series.study_uid = study.study_uid) as modalities,
       (select count(*) from series where series.study_uid = study.study_uid) as series_count,
       (select coalesce(cast(sum(series.instance_count) as bigint), 0) from series
        where series.study_uid = study.study_uid) as instance_count,
       (select count(*) from hold where hold.study_uid = study.study_uid and hold.released_at is null) as open_holds
from study
where ($1 is null or study.patient_id = $1)
  and ($2 is null or study.accession_number = $2)
  and ($3 is null or exists (select 1 from series where series.study_uid = study.study_uid and series.modality = $3))
  and ($4 is null or study.study_date >= $4)
  and ($5 is null or study.study_date <= $5)
  and (study.first_arrival_at, study.study_uid) < ($6, $7)
order by study.first_arrival_at desc, study.study_uid desc
limit $8
