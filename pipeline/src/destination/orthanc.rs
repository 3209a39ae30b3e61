//! Orthanc by its own REST interface. The proof of arrival is a look-up by UID.

use orthanc_bridge::{Connection, ConnectionError, Orthanc};

use super::{Proof, SendError, Shipment};

#[derive(Debug)]
pub(crate) struct OrthancArchive {
    orthanc: Orthanc,
}

impl OrthancArchive {
    pub(super) fn new(connection: Connection) -> Result<Self, ConnectionError> {
        Ok(Self { orthanc: Orthanc::new(connection)? })
    }

    pub(super) async fn send(&self, shipment: Shipment) -> Result<(), SendError> {
        // "Stored" and "held already" are both what was wanted: the UID stands for these bytes.
        self.orthanc.upload(shipment.file).await?;
        Ok(())
    }

    pub(super) async fn prove(&self, shipment: &Shipment) -> Result<Proof, SendError> {
        let found = self.orthanc.find_instance(&shipment.sop_instance).await?;
        Ok(if found.is_empty() { Proof::Absent } else { Proof::Arrived })
    }

    pub(super) async fn check(&self) -> Result<(), SendError> {
        self.orthanc.system().await?;
        Ok(())
    }
}
