//! Users, rights and TLS.

use std::path::PathBuf;

use highwater_node::config::{EtcdIdentity, EtcdTls, EtcdUser};

use super::server::{Options, etcd_with};
use super::*;

#[tokio::test]
async fn a_user_needs_its_password_and_the_right_to_the_prefix() {
    let mut etcd = etcd().await;
    let mut root = etcd.client().await;
    root.role_add("root").await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("controllers").await.unwrap();
    let permission = etcd_client::Permission::read_write("/highwater/mine/").with_prefix();
    root.role_grant_permission("controllers", permission).await.unwrap();
    root.user_add("highwater", "open sesame", None).await.unwrap();
    root.user_grant_role("highwater", "controllers").await.unwrap();
    root.auth_enable().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    let mut config = etcd.config("mine");
    let nobody = EtcdStore::connect(config.clone()).await.err().unwrap();
    assert!(matches!(nobody, StoreError::Refused(_)), "{nobody}");
    config.user = Some(EtcdUser {
        name: "highwater".to_owned(),
        password_file: password_file.clone(),
    });
    let unread = EtcdStore::connect(config.clone()).await.err().unwrap().to_string();
    assert!(unread.contains("password"), "{unread}");
    std::fs::write(&password_file, "wrong\n").unwrap();
    let wrong = EtcdStore::connect(config.clone()).await.err().unwrap();
    assert!(
        matches!(&wrong, StoreError::Refused(reason) if reason.contains("password")),
        "{wrong}"
    );
    std::fs::write(&password_file, "open sesame\n").unwrap();
    let mut elsewhere = config.clone();
    elsewhere.cluster = "others".to_owned();
    let refused = EtcdStore::connect(elsewhere).await.err().unwrap();
    assert!(
        matches!(&refused, StoreError::Refused(reason) if reason.contains("permission denied")),
        "{refused}"
    );

    let store = EtcdStore::connect(config).await.unwrap();
    let leadership = store.campaign("one").await.unwrap();
    let mut watch = store.watch(leadership.created()).await.unwrap();
    let first = store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    assert_eq!(soon("an event", watch.next()).await.unwrap().revision, first);
    // etcd forgets who logged in.
    etcd.kill();
    etcd.start_again().await;
    let second = soon("a commit", async {
        loop {
            match store.commit(&leadership, put("topics/a", "2")).await {
                Ok(revision) => return revision,
                Err(CommitError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await;
    assert_eq!(soon("an event", watch.next()).await.unwrap().revision, second);
    soon("a load", async { while store.load().await.is_err() {} }).await;
    store.resign(leadership).await;
}

/// Certificates of one authority, in files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> EtcdIdentity {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix: &str| self.folder.path().join(format!("{name}.{suffix}"));
        std::fs::write(file("pem"), cert.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        EtcdIdentity {
            cert_file: file("pem"),
            key_file: file("key"),
        }
    }
}

#[tokio::test]
async fn tls_needs_the_right_authority_and_a_certificate_where_etcd_asks_for_one() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (server, client, stranger) = (ours.issue("etcd"), ours.issue("controller"), other.issue("controller"));
    let file = |path: &PathBuf| path.display().to_string();
    let options = Options {
        arguments: vec![
            "--cert-file".to_owned(),
            file(&server.cert_file),
            "--key-file".to_owned(),
            file(&server.key_file),
            "--trusted-ca-file".to_owned(),
            file(&ours.ca()),
            "--client-cert-auth".to_owned(),
        ],
        tls: true,
    };
    let etcd = etcd_with(options).await;
    let with = |ca_file: PathBuf, identity: Option<EtcdIdentity>| {
        let mut config = etcd.config("c");
        config.tls = Some(EtcdTls { ca_file, identity });
        config
    };
    let store = EtcdStore::connect(with(ours.ca(), Some(client.clone()))).await.unwrap();
    let leadership = soon("the election", store.campaign("one")).await.unwrap();
    store.commit(&leadership, put("topics/a", "1")).await.unwrap();
    let unavailable = async |config| {
        let store = EtcdStore::connect(config).await.unwrap();
        store.load().await.unwrap_err().to_string()
    };
    let wrong_authority = unavailable(with(other.ca(), Some(client))).await;
    assert!(wrong_authority.contains("certificate"), "{wrong_authority}");
    unavailable(with(ours.ca(), None)).await;
    unavailable(with(ours.ca(), Some(stranger))).await;
    let missing = EtcdStore::connect(with("no/such/file".into(), None))
        .await
        .err()
        .unwrap();
    assert!(missing.to_string().contains("no/such/file"), "{missing}");
}
