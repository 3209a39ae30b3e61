select *
from prediction
where ($1 is null or patient_id = $1) and ($2 is null or model_id = $2) and ($3 is null or doctor = $3)
  and ($4 is null or actor = $4) and ($5 is null or call_id = $5) and ($6 is null or label = $6)
  and ($7 is null or at >= $7) and ($8 is null or at < $8) and prediction_id < $9
order by prediction_id desc
limit $10
